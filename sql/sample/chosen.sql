-- Which rows a sample takes. A company is drawn by its id, and its contacts and deals come with it; who has no company is drawn
-- by their own id. Every contact that a deal lists comes along, so do the companies of such contacts and those that the mapping
-- files name: nothing in the sample refers to something outside.
with

own_companies as (
    select companies.id
    from public.companies
    where (hashtextextended('company ' || companies.id, {seed}) & 9223372036854775807) % 1000000 < {share}
),

chosen_deals as (
    select
        deals.id,
        deals.contact_ids
    from public.deals
    where deals.company_id in (select own_companies.id from own_companies)
        or (
            deals.company_id is null
            and (hashtextextended('deal ' || deals.id, {seed}) & 9223372036854775807) % 1000000 < {share}
        )
),

listed_contacts as (
    select distinct member.contact_id
    from chosen_deals
    cross join lateral unnest(chosen_deals.contact_ids) as member (contact_id)
),

chosen_contacts as (
    select
        contacts.id,
        contacts.company_id
    from public.contacts
    where contacts.company_id in (select own_companies.id from own_companies)
        or contacts.id in (select listed_contacts.contact_id from listed_contacts)
        or (
            contacts.company_id is null
            and (hashtextextended('contact ' || contacts.id, {seed}) & 9223372036854775807) % 1000000 < {share}
        )
),

chosen_companies as (
    select own_companies.id
    from own_companies
    union
    select chosen_contacts.company_id
    from chosen_contacts
    union
    select named.id
    from unnest({named}::bigint[]) as named (id)
)
