insert into pg_temp.demo_companies (
    id,
    created_at,
    name,
    sector,
    size,
    linkedin_url,
    website,
    phone_number,
    address,
    zipcode,
    city,
    state_abbr,
    sales_id,
    context_links,
    country,
    description,
    revenue,
    tax_identifier,
    logo
)
with numbered as (
    select
        company.id,
        -- one in 25 is a principal, one in 25 a distributor; position counts within its own kind
        case company.id % 25 when 2 then 'principal' when 3 then 'distributor' else 'customer' end as kind,
        (company.id / 25)::integer as position,
        1 + floor(pg_temp.draw(company.id, 'company place') * cardinality(word.cities))::integer as place,
        -- steps through all pairs of words before one comes back
        company.id * 7919 as step
    from pg_temp.demo_words as word
    cross join generate_series(1::bigint, word.companies) as company (id)
),

named as (
    select
        numbered.id,
        numbered.kind,
        numbered.place,
        case
            when numbered.id = 1 then word.examples -> 0 ->> 'company'
            when numbered.kind = 'principal'
                then coalesce(
                    word.principals -> numbered.position ->> 'name',
                    word.brands[1 + numbered.position % cardinality(word.brands)] || ' '
                    || word.goods[
                        1 + (numbered.position + numbered.position / cardinality(word.brands)) % cardinality(word.goods)
                    ]
                    || coalesce(' ' || nullif(1 + numbered.position / (cardinality(word.brands) * cardinality(word.goods)), 1), '')
                )
            when numbered.kind = 'distributor'
                then coalesce(
                    word.distributors -> numbered.position ->> 'name',
                    word.regions[1 + numbered.position % cardinality(word.regions)] || ' '
                    || word.trades[
                        1 + (numbered.position + numbered.position / cardinality(word.regions)) % cardinality(word.trades)
                    ]
                    || coalesce(' ' || nullif(1 + numbered.position / (cardinality(word.regions) * cardinality(word.trades)), 1), '')
                )
            else
                word.venues[1 + (numbered.step / cardinality(word.venue_names) % cardinality(word.venues))::integer] || ' '
                || word.venue_names[1 + (numbered.step % cardinality(word.venue_names))::integer] || ' '
                || word.last_names[
                    1 + (
                        numbered.step / (cardinality(word.venue_names) * cardinality(word.venues))
                        % cardinality(word.last_names)
                    )::integer
                ]
                || ', ' || word.cities[numbered.place]
        end as name
    from numbered
    cross join pg_temp.demo_words as word
),

addressed as (
    select
        named.*,
        case
            when named.kind <> 'customer' or pg_temp.draw(named.id, 'company has website') < 0.85
                then pg_temp.slug(named.name) || '.example'
        end as host
    from named
)

select
    company.id,
    pg_temp.moment(company.id, 'company created', word.first_day, word.as_of - interval '60 days'),
    company.name,
    case when company.kind = 'customer' then pg_temp.pick(company.id, 'company sector', word.sectors) end,
    pg_temp.pick(company.id, 'company size', array['1', '10', '50', '250', '500'])::smallint,
    'https://www.linkedin.com/company/' || pg_temp.slug(company.name),
    'https://www.' || company.host,
    '+41 ' || pg_temp.number(company.id, 'company phone', 200000000, 799999999),
    pg_temp.pick(company.id, 'company street', word.streets) || ' ' || pg_temp.number(company.id, 'company house', 1, 120),
    pg_temp.number(company.id, 'company zip', 1000, 9999)::text,
    word.cities[company.place],
    word.states[company.place],
    pg_temp.number(company.id, 'company sales', 1, word.sales),
    case
        when pg_temp.draw(company.id, 'company links') < 0.3 and company.host is not null
            then json_build_array('https://' || company.host || '/about', 'https://' || company.host || '/menu')
    end,
    word.countries[company.place],
    case company.kind
        when 'principal' then 'Brand owner; sells through distributors.'
        when 'distributor' then 'Delivers for several brands.'
        else case when pg_temp.draw(company.id, 'company description') < 0.4 then 'Buys all the year round.' end
    end,
    case when pg_temp.draw(company.id, 'company revenue') < 0.5
        then '€ ' || pg_temp.number(company.id, 'company revenue amount', 1, 90) || 'M'
    end,
    case when pg_temp.draw(company.id, 'company tax') < 0.6
        then 'CHE-' || pg_temp.number(company.id, 'company tax number', 100000000, 999999999)
    end,
    case when company.host is not null
        then jsonb_build_object('src', 'https://' || company.host || '/favicon.ico', 'title', 'Company favicon')
    end
from addressed as company
cross join pg_temp.demo_words as word;
