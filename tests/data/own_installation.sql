-- An installation with additions of its own, in each of the ways that the cutover has to carry.
create domain public.score_value as integer check (value between 0 and 100);
create table public.territories (id integer primary key, name text not null);
insert into public.territories values (1, 'North'), (2, 'South');

alter table public.deals
    add column score public.score_value default 10 not null,
    add column territory_id integer constraint deals_territory_id_fkey references public.territories (id) on delete set null,
    add column "Odd Name" text default 'it''s',
    add column ticket bigint,
    add constraint deals_score_below_ninety check (score < 90),
    add constraint deals_ticket_key unique (ticket);
create index deals_score_idx on public.deals (score desc) where score > 20;
create index "deals Odd" on public.deals (lower("Odd Name"));
create sequence public.deals_counter_seq;
alter table public.deals add column counter bigint default nextval('public.deals_counter_seq');
alter sequence public.deals_counter_seq owned by public.deals.counter;
comment on table public.deals is 'Deals of this installation.';
comment on column public.deals.score is 'Own score.';
comment on constraint deals_score_below_ninety on public.deals is 'Own rule.';
comment on index public.deals_score_idx is 'Own index.';
update public.deals set score = id % 80, territory_id = 1 + id % 2, ticket = id where true;

create table public.payouts (
    id bigint generated always as identity primary key,
    deal_id bigint not null,
    amount numeric not null,
    constraint payouts_deal_id_fkey foreign key (deal_id) references public.deals (id) on delete cascade
);
insert into public.payouts (deal_id, amount) select id, id * 1.5 from public.deals where id % 3 = 0;
comment on constraint payouts_deal_id_fkey on public.payouts is 'Own key.';
alter table public.payouts enable row level security;
create policy "Own payouts" on public.payouts for select to authenticated
using (exists (select from public.deals where deals.id = payouts.deal_id and deals.stage <> 'lost'));

create table public.reminders (
    id bigint primary key, ticket bigint constraint reminders_ticket_fkey references public.deals (ticket), content text
);
insert into public.reminders select id, id from public.deals where id < 5;

create function public.open_amount(of_company bigint) returns bigint language sql stable set search_path = '' as $$
    select sum(deals.amount)::bigint from public.deals where deals.company_id = of_company
$$;
create function public.deal_label(deal public.deals) returns text language sql stable as $$ select deal.name || ' #' || deal.id $$;
comment on function public.deal_label(public.deals) is 'Computed field.';
revoke all on function public.deal_label(public.deals) from public, anon;

create view public.deals_summary with (security_invoker = on, security_barrier = true) as
select deals.*, public.open_amount(deals.company_id) as open_amount, public.deal_label(deals.*) as label
from public.deals;
alter view public.deals_summary alter column amount set default 5;
comment on view public.deals_summary is 'Own view.';
comment on column public.deals_summary.label is 'Own column.';
revoke all on public.deals_summary from anon;
create function public.deals_summary_insert() returns trigger language plpgsql as $$ begin return new; end $$;
create trigger own_insert instead of insert on public.deals_summary for each row execute function public.deals_summary_insert();
create view public.deals_of_deals as select id, label from public.deals_summary where amount > 100;
create view public.companies_with_deals as select * from public.companies_summary where nb_deals > 0;
create materialized view public.deals_by_stage as select stage, count(*) as deals, sum(amount) as amount from public.deals group by stage;
create unique index deals_by_stage_key on public.deals_by_stage (stage);
create schema reporting;
create view reporting.pipeline as select stage, amount from public.deals;
grant usage on schema reporting to service_role;
grant select on reporting.pipeline to service_role;

create policy "Own rows" on public.deals as restrictive for update to authenticated
using (stage <> 'archived' and score >= 0) with check (company_id is not null or amount > 0);
comment on policy "Own rows" on public.deals is 'Own policy.';

create function public.note_won() returns trigger language plpgsql set search_path = '' as $$ begin return new; end $$;
create trigger deal_won after update of stage on public.deals for each row when (new.stage = 'won' and old.stage <> 'won')
execute function public.note_won();
create trigger deal_quiet before update on public.deals for each row execute function public.note_won();
alter table public.deals disable trigger deal_quiet;
create trigger company_quiet before update on public.companies for each row execute function public.note_won();
alter table public.companies disable trigger company_quiet;

create publication changes_of_deals for table public.deals where (id > 0), public.companies;
create publication new_deals for table public.deals (id, stage, amount, expected_closing_date) where (stage <> 'lost') with (publish = 'insert');
alter table public.deals replica identity full;

revoke all on public.deals from anon;
revoke insert, update on public.deals from authenticated;
grant insert (name, stage, company_id), update (name, stage, expected_closing_date) on public.deals to authenticated;
grant select (id, deal_id) on public.payouts to anon;
create statistics public.deals_stage_category on stage, category from public.deals;
