{{ config(materialized='table', indexes=[{'columns': ['deal_id', 'contact_id'], 'unique': true}]) }}

with

deals as (
    select * from {{ ref('stg_legacy__deals') }}
),

contacts as (
    select * from {{ ref('stg_legacy__contacts') }}
),

-- contact_ids has no foreign key: ids may dangle, repeat or be null
named as (
    select distinct
        deals.deal_id,
        member.contact_id
    from deals
    cross join lateral unnest(deals.contact_ids) as member (contact_id)
    where member.contact_id is not null
),

final as (
    select
        named.deal_id,
        named.contact_id
    from named
    inner join contacts
        on named.contact_id = contacts.contact_id
)

select * from final
