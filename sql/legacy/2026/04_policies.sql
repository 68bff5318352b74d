-- Everybody who is logged in works with everything; nobody else sees a row.
alter table public.companies enable row level security;
alter table public.contacts enable row level security;
alter table public.contact_notes enable row level security;
alter table public.deals enable row level security;
alter table public.deal_notes enable row level security;
alter table public.sales enable row level security;
alter table public.tags enable row level security;
alter table public.tasks enable row level security;
alter table public.configuration enable row level security;
alter table public.favicons_excluded_domains enable row level security;

create policy "Enable read access for authenticated users" on public.companies
for select to authenticated using (true);
create policy "Enable insert for authenticated users only" on public.companies
for insert to authenticated with check (true);
create policy "Enable update for authenticated users only" on public.companies
for update to authenticated using (true) with check (true);
create policy "Enable delete for authenticated users only" on public.companies
for delete to authenticated using (true);

create policy "Enable read access for authenticated users" on public.contacts
for select to authenticated using (true);
create policy "Enable insert for authenticated users only" on public.contacts
for insert to authenticated with check (true);
create policy "Enable update for authenticated users only" on public.contacts
for update to authenticated using (true) with check (true);
create policy "Enable delete for authenticated users only" on public.contacts
for delete to authenticated using (true);

create policy "Enable read access for authenticated users" on public.contact_notes
for select to authenticated using (true);
create policy "Enable insert for authenticated users only" on public.contact_notes
for insert to authenticated with check (true);
create policy "Enable update for authenticated users only" on public.contact_notes
for update to authenticated using (true) with check (true);
create policy "Enable delete for authenticated users only" on public.contact_notes
for delete to authenticated using (true);

create policy "Enable read access for authenticated users" on public.deals
for select to authenticated using (true);
create policy "Enable insert for authenticated users only" on public.deals
for insert to authenticated with check (true);
create policy "Enable update for authenticated users only" on public.deals
for update to authenticated using (true) with check (true);
create policy "Enable delete for authenticated users only" on public.deals
for delete to authenticated using (true);

create policy "Enable read access for authenticated users" on public.deal_notes
for select to authenticated using (true);
create policy "Enable insert for authenticated users only" on public.deal_notes
for insert to authenticated with check (true);
create policy "Enable update for authenticated users only" on public.deal_notes
for update to authenticated using (true) with check (true);
create policy "Enable delete for authenticated users only" on public.deal_notes
for delete to authenticated using (true);

create policy "Enable read access for authenticated users" on public.sales
for select to authenticated using (true);
create policy "Enable insert for authenticated users only" on public.sales
for insert to authenticated with check (true);
create policy "Enable update for authenticated users only" on public.sales
for update to authenticated using (true) with check (true);
create policy "Enable delete for authenticated users only" on public.sales
for delete to authenticated using (true);

create policy "Enable read access for authenticated users" on public.tags
for select to authenticated using (true);
create policy "Enable insert for authenticated users only" on public.tags
for insert to authenticated with check (true);
create policy "Enable update for authenticated users only" on public.tags
for update to authenticated using (true) with check (true);
create policy "Enable delete for authenticated users only" on public.tags
for delete to authenticated using (true);

create policy "Enable read access for authenticated users" on public.tasks
for select to authenticated using (true);
create policy "Enable insert for authenticated users only" on public.tasks
for insert to authenticated with check (true);
create policy "Enable update for authenticated users only" on public.tasks
for update to authenticated using (true) with check (true);
create policy "Enable delete for authenticated users only" on public.tasks
for delete to authenticated using (true);

create policy "Enable read access for authenticated users" on public.favicons_excluded_domains
for select to authenticated using (true);
create policy "Enable insert for authenticated users only" on public.favicons_excluded_domains
for insert to authenticated with check (true);
create policy "Enable update for authenticated users only" on public.favicons_excluded_domains
for update to authenticated using (true) with check (true);
create policy "Enable delete for authenticated users only" on public.favicons_excluded_domains
for delete to authenticated using (true);

create policy "Enable read access for authenticated users" on public.configuration
for select to authenticated using (true);
create policy "Enable insert for admins" on public.configuration
for insert to authenticated with check (public.is_admin());
create policy "Enable update for admins" on public.configuration
for update to authenticated using (public.is_admin()) with check (public.is_admin());

grant all on all tables in schema public to anon, authenticated, service_role;
grant all on all sequences in schema public to anon, authenticated, service_role;
grant all on all functions in schema public to anon, authenticated, service_role;
