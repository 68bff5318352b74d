insert into pg_temp.demo_deals (
    id,
    name,
    company_id,
    contact_ids,
    category,
    stage,
    description,
    amount,
    created_at,
    updated_at,
    archived_at,
    expected_closing_date,
    sales_id,
    "index"
)
with colleagues as (
    select
        contact.company_id,
        array_agg(contact.id order by contact.id) as contact_ids
    from pg_temp.demo_contacts as contact
    group by contact.company_id
),

numbered as (
    select
        deal.id,
        word.examples -> (deal.id - 1)::integer as example,
        case
            when deal.id <= 3 then deal.id
            else 1 + floor(power(pg_temp.draw(deal.id, 'deal company'), 1.2) * word.companies)::bigint
        end as company_id
    from pg_temp.demo_words as word
    cross join generate_series(1::bigint, word.deals) as deal (id)
),

-- one to three of the company's people
attended as (
    select
        numbered.*,
        company.created_at as known_since,
        case
            when colleagues.contact_ids is null or pg_temp.draw(numbered.id, 'deal has contacts') < 0.03 then array[]::bigint[]
            else
                colleagues.contact_ids[
                    1 + floor(pg_temp.draw(numbered.id, 'deal first contact') * cardinality(colleagues.contact_ids))::integer
                    :floor(pg_temp.draw(numbered.id, 'deal first contact') * cardinality(colleagues.contact_ids))::integer
                    + pg_temp.number(numbered.id, 'deal contacts', 1, 3)::integer
                ]
        end as contact_ids
    from numbered
    inner join pg_temp.demo_companies as company on company.id = numbered.company_id
    left join colleagues on colleagues.company_id = numbered.company_id
),

dated as (
    select
        attended.*,
        coalesce(attended.example ->> 'stage', pg_temp.pick(attended.id, 'deal stage', word.stages)) as stage,
        pg_temp.moment(attended.id, 'deal created', attended.known_since, word.as_of - interval '1 day') as created_at
    from attended
    cross join pg_temp.demo_words as word
),

moved as (
    select
        dated.*,
        least(
            pg_temp.moment(dated.id, 'deal updated', dated.created_at, dated.created_at + interval '150 days'),
            word.as_of
        ) as updated_at
    from dated
    cross join pg_temp.demo_words as word
)

select
    deal.id,
    coalesce(
        deal.example ->> 'deal',
        pg_temp.pick(deal.id, 'deal opening', word.deal_openings) || ': ' || pg_temp.pick(deal.id, 'deal goods', category.goods)
    ),
    deal.company_id,
    case
        -- somebody from another company sits at the table
        when deal.id = 1 then array[1, 2, 6]::bigint[]
        when
            pg_temp.draw(deal.id, 'deal outsider') < 0.08
            and pg_temp.number(deal.id, 'deal outsider id', 1, word.contacts) <> all (deal.contact_ids)
            then deal.contact_ids || pg_temp.number(deal.id, 'deal outsider id', 1, word.contacts)
        when pg_temp.draw(deal.id, 'deal outsider') > 0.99 then null
        else deal.contact_ids
    end,
    category.word,
    deal.stage,
    case
        when pg_temp.draw(deal.id, 'deal description') < 0.6 then pg_temp.pick(deal.id, 'deal description text', word.notes)
        when pg_temp.draw(deal.id, 'deal description') < 0.7 then ''
    end,
    case
        when deal.example is not null then (deal.example ->> 'amount')::bigint
        when pg_temp.draw(deal.id, 'deal amount') < 0.02 then null
        when pg_temp.draw(deal.id, 'deal amount') < 0.03 then 0
        -- many small ones, few large ones
        else 50 * (10 + floor(4000 * power(pg_temp.draw(deal.id, 'deal amount'), 3)))::bigint
    end,
    deal.created_at,
    deal.updated_at,
    case
        when deal.stage in ('won', 'lost') and deal.id > 3 and pg_temp.draw(deal.id, 'deal archived') < 0.3 then deal.updated_at
    end,
    case
        when deal.id <= 3 or pg_temp.draw(deal.id, 'deal has closing') < 0.97
            then date_trunc('day', deal.created_at, 'UTC') + interval '1 day' * pg_temp.number(deal.id, 'deal closing', 5, 200)
    end,
    pg_temp.number(deal.id, 'deal sales', 1, word.sales),
    -- a column of the kanban board is numbered from 0; the type ends at 32767
    ((row_number() over (partition by deal.stage order by deal.id) - 1) % 32768)::smallint
from moved as deal
cross join pg_temp.demo_words as word
inner join pg_temp.demo_categories as category
    on category.category = coalesce(deal.example ->> 'category', pg_temp.pick(deal.id, 'deal category', word.categories));
