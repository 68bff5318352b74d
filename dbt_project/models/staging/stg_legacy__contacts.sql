with

contacts as (
    select * from {{ source('legacy', 'contacts') }}
),

final as (
    select
        -- ids
        id as contact_id,
        company_id,
        sales_id,

        -- text
        first_name,
        last_name,
        gender,
        title,
        background,
        status,
        linkedin_url,
        email_jsonb,
        phone_jsonb,
        avatar,
        tags,
        has_newsletter,

        -- times
        first_seen,
        last_seen
    from contacts
)

select * from final
