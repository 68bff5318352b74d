-- Link and child tables ask the rows they belong to, as the role that asks: who sees the opportunity sees its participants.
-- A write locks the parent for a moment, which row level security only allows to a role that may update the parent.

create policy "Visible with its opportunity" on public.opportunity_participants
for select using (
    exists (select from public.opportunities where opportunities.id = opportunity_participants.opportunity_id)
);
create policy "Inserted with its opportunity" on public.opportunity_participants
for insert with check (
    exists (select from public.opportunities where opportunities.id = opportunity_participants.opportunity_id for key share)
);
create policy "Updated with its opportunity" on public.opportunity_participants
for update using (
    exists (select from public.opportunities where opportunities.id = opportunity_participants.opportunity_id for key share)
);
create policy "Deleted with its opportunity" on public.opportunity_participants
for delete using (
    exists (select from public.opportunities where opportunities.id = opportunity_participants.opportunity_id for key share)
);

create policy "Visible with its opportunity" on public.opportunity_products
for select using (
    exists (select from public.opportunities where opportunities.id = opportunity_products.opportunity_id)
);
create policy "Inserted with its opportunity" on public.opportunity_products
for insert with check (
    exists (select from public.opportunities where opportunities.id = opportunity_products.opportunity_id for key share)
);
create policy "Updated with its opportunity" on public.opportunity_products
for update using (
    exists (select from public.opportunities where opportunities.id = opportunity_products.opportunity_id for key share)
);
create policy "Deleted with its opportunity" on public.opportunity_products
for delete using (
    exists (select from public.opportunities where opportunities.id = opportunity_products.opportunity_id for key share)
);

create policy "Visible with contact and organization" on public.contact_organizations
for select using (
    exists (select from public.contacts where contacts.id = contact_organizations.contact_id)
    and exists (select from public.companies where companies.id = contact_organizations.organization_id)
);
create policy "Inserted with its contact" on public.contact_organizations
for insert with check (
    exists (select from public.contacts where contacts.id = contact_organizations.contact_id for key share)
    and exists (select from public.companies where companies.id = contact_organizations.organization_id)
);
create policy "Updated with its contact" on public.contact_organizations
for update using (
    exists (select from public.contacts where contacts.id = contact_organizations.contact_id for key share)
    and exists (select from public.companies where companies.id = contact_organizations.organization_id)
);
create policy "Deleted with its contact" on public.contact_organizations
for delete using (
    exists (select from public.contacts where contacts.id = contact_organizations.contact_id for key share)
    and exists (select from public.companies where companies.id = contact_organizations.organization_id)
);

create policy "Visible with contact and principal" on public.contact_preferred_principals
for select using (
    exists (select from public.contacts where contacts.id = contact_preferred_principals.contact_id)
    and exists (select from public.companies where companies.id = contact_preferred_principals.principal_organization_id)
);
create policy "Inserted with its contact" on public.contact_preferred_principals
for insert with check (
    exists (select from public.contacts where contacts.id = contact_preferred_principals.contact_id for key share)
    and exists (select from public.companies where companies.id = contact_preferred_principals.principal_organization_id)
);
create policy "Updated with its contact" on public.contact_preferred_principals
for update using (
    exists (select from public.contacts where contacts.id = contact_preferred_principals.contact_id for key share)
    and exists (select from public.companies where companies.id = contact_preferred_principals.principal_organization_id)
);
create policy "Deleted with its contact" on public.contact_preferred_principals
for delete using (
    exists (select from public.contacts where contacts.id = contact_preferred_principals.contact_id for key share)
    and exists (select from public.companies where companies.id = contact_preferred_principals.principal_organization_id)
);

create policy "Visible with what it is about" on public.activities
for select using (
    (activities.opportunity_id is null or exists (select from public.opportunities where opportunities.id = activities.opportunity_id))
    and (activities.contact_id is null or exists (select from public.contacts where contacts.id = activities.contact_id))
    and (activities.organization_id is null or exists (select from public.companies where companies.id = activities.organization_id))
);
create policy "Inserted with what it is about" on public.activities
for insert with check (
    (activities.opportunity_id is null or exists (select from public.opportunities where opportunities.id = activities.opportunity_id for key share))
    and (activities.contact_id is null or exists (select from public.contacts where contacts.id = activities.contact_id for key share))
    and (activities.organization_id is null or exists (select from public.companies where companies.id = activities.organization_id))
);
create policy "Updated with what it is about" on public.activities
for update using (
    (activities.opportunity_id is null or exists (select from public.opportunities where opportunities.id = activities.opportunity_id for key share))
    and (activities.contact_id is null or exists (select from public.contacts where contacts.id = activities.contact_id for key share))
    and (activities.organization_id is null or exists (select from public.companies where companies.id = activities.organization_id))
);
create policy "Deleted with what it is about" on public.activities
for delete using (
    (activities.opportunity_id is null or exists (select from public.opportunities where opportunities.id = activities.opportunity_id for key share))
    and (activities.contact_id is null or exists (select from public.contacts where contacts.id = activities.contact_id for key share))
    and (activities.organization_id is null or exists (select from public.companies where companies.id = activities.organization_id))
);

create policy "Visible with its activity" on public.interaction_participants
for select using (
    exists (select from public.activities where activities.id = interaction_participants.activity_id)
);
create policy "Inserted with its activity" on public.interaction_participants
for insert with check (
    exists (select from public.activities where activities.id = interaction_participants.activity_id for key share)
);
create policy "Updated with its activity" on public.interaction_participants
for update using (
    exists (select from public.activities where activities.id = interaction_participants.activity_id for key share)
);
create policy "Deleted with its activity" on public.interaction_participants
for delete using (
    exists (select from public.activities where activities.id = interaction_participants.activity_id for key share)
);
