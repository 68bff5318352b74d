with

companies as (
    select * from {{ source('legacy', 'companies') }}
),

final as (
    select
        -- ids
        id as company_id,
        sales_id,

        -- text; website may be citext, whose operators a restored dump does not find
        name,
        sector,
        size,
        linkedin_url,
        website::text as website,
        phone_number,
        address,
        zipcode,
        city,
        {{ legacy_column('companies', ['state_abbr', 'stateAbbr']) }} as state_abbr,
        country,
        description,
        revenue,
        tax_identifier,
        context_links,
        logo,

        -- times
        created_at
    from companies
)

select * from final
