with

contact_notes as (
    select * from {{ legacy_relation(['contact_notes', 'contactNotes']) }}
),

final as (
    select
        -- ids
        id as note_id,
        contact_id,
        sales_id,

        -- text
        text,
        status,
        attachments,

        -- times
        date
    from contact_notes
)

select * from final
