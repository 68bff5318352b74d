with

deal_notes as (
    select * from {{ legacy_relation(['deal_notes', 'dealNotes']) }}
),

final as (
    select
        -- ids
        id as note_id,
        deal_id,
        sales_id,

        -- text
        type,
        text,
        attachments,

        -- times
        date
    from deal_notes
)

select * from final
