-- A product belongs to its principal, a relationship to both of its companies.
create policy "Visible with its principal" on public.products
for select using (
    exists (select from public.companies where companies.id = products.principal_organization_id)
);
create policy "Inserted with its principal" on public.products
for insert with check (
    exists (select from public.companies where companies.id = products.principal_organization_id for key share)
);
create policy "Updated with its principal" on public.products
for update using (
    exists (select from public.companies where companies.id = products.principal_organization_id for key share)
);
create policy "Deleted with its principal" on public.products
for delete using (
    exists (select from public.companies where companies.id = products.principal_organization_id for key share)
);

create policy "Visible with both companies" on public.principal_distributor_relationships
for select using (
    exists (select from public.companies where companies.id = principal_distributor_relationships.principal_organization_id)
    and exists (select from public.companies where companies.id = principal_distributor_relationships.distributor_organization_id)
);
create policy "Inserted with its principal" on public.principal_distributor_relationships
for insert with check (
    exists (select from public.companies where companies.id = principal_distributor_relationships.principal_organization_id for key share)
    and exists (select from public.companies where companies.id = principal_distributor_relationships.distributor_organization_id)
);
create policy "Updated with its principal" on public.principal_distributor_relationships
for update using (
    exists (select from public.companies where companies.id = principal_distributor_relationships.principal_organization_id for key share)
    and exists (select from public.companies where companies.id = principal_distributor_relationships.distributor_organization_id)
);
create policy "Deleted with its principal" on public.principal_distributor_relationships
for delete using (
    exists (select from public.companies where companies.id = principal_distributor_relationships.principal_organization_id for key share)
    and exists (select from public.companies where companies.id = principal_distributor_relationships.distributor_organization_id)
);
