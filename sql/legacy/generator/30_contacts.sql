insert into pg_temp.demo_contacts (
    id,
    first_name,
    last_name,
    gender,
    title,
    background,
    avatar,
    first_seen,
    last_seen,
    has_newsletter,
    status,
    tags,
    company_id,
    sales_id,
    linkedin_url,
    email_jsonb,
    phone_jsonb
)
with numbered as (
    select
        contact.id,
        case
            -- two for each of the examples
            when contact.id <= 6 then (contact.id + 1) / 2
            -- large customers have more contacts, some have none
            else 1 + floor(power(pg_temp.draw(contact.id, 'contact company'), 1.3) * word.companies)::bigint
        end as company_id,
        pg_temp.pick(contact.id, 'contact first name', word.first_names) as first_name,
        pg_temp.pick(contact.id, 'contact last name', word.last_names) as last_name
    from pg_temp.demo_words as word
    cross join generate_series(1::bigint, word.contacts) as contact (id)
),

dated as (
    select
        numbered.*,
        pg_temp.moment(numbered.id, 'contact first seen', company.created_at, word.as_of) as first_seen,
        pg_temp.slug(numbered.first_name) || '.' || pg_temp.slug(numbered.last_name) as mailbox
    from numbered
    cross join pg_temp.demo_words as word
    inner join pg_temp.demo_companies as company on company.id = numbered.company_id
)

select
    contact.id,
    contact.first_name,
    contact.last_name,
    pg_temp.pick(contact.id, 'contact gender', array['female', 'female', 'male', 'male', 'nonbinary']),
    pg_temp.pick(contact.id, 'contact title', word.titles),
    case when pg_temp.draw(contact.id, 'contact background') < 0.3 then 'Met at the trade fair.' end,
    case
        when pg_temp.draw(contact.id, 'contact avatar') < 0.2
            then jsonb_build_object('src', 'https://crm.example/contacts/' || contact.id || '.png')
    end,
    contact.first_seen,
    pg_temp.moment(contact.id, 'contact last seen', contact.first_seen, word.as_of),
    pg_temp.draw(contact.id, 'contact newsletter') < 0.4,
    pg_temp.pick(contact.id, 'contact status', word.contact_statuses),
    case
        when pg_temp.draw(contact.id, 'contact tags') < 0.5 then array[]::bigint[]
        when pg_temp.draw(contact.id, 'contact tags') < 0.85
            then array[pg_temp.number(contact.id, 'contact tag', 1, cardinality(word.tag_names))]
        else array[1, 2 + pg_temp.number(contact.id, 'contact tag', 0, cardinality(word.tag_names) - 2)]
    end,
    contact.company_id,
    pg_temp.number(contact.id, 'contact sales', 1, word.sales),
    case
        when pg_temp.draw(contact.id, 'contact linkedin') < 0.5
            then 'https://www.linkedin.com/in/' || contact.mailbox || '-' || contact.id
    end,
    case
        when pg_temp.draw(contact.id, 'contact email') < 0.04 then '[]'::jsonb
        when pg_temp.draw(contact.id, 'contact email') < 0.2
            then jsonb_build_array(
                jsonb_build_object('email', contact.mailbox || '.' || contact.id || '@work.example', 'type', 'Work'),
                jsonb_build_object('email', contact.mailbox || contact.id || '@home.example', 'type', 'Home')
            )
        else jsonb_build_array(
            jsonb_build_object('email', contact.mailbox || '.' || contact.id || '@work.example', 'type', 'Work')
        )
    end,
    case
        when pg_temp.draw(contact.id, 'contact phone') < 0.1 then '[]'::jsonb
        else jsonb_build_array(
            jsonb_build_object(
                'number', '+41 ' || pg_temp.number(contact.id, 'contact phone number', 700000000, 799999999),
                'type', pg_temp.pick(contact.id, 'contact phone type', array['Work', 'Home', 'Other'])
            )
        )
    end
from dated as contact
cross join pg_temp.demo_words as word;
