with

final as (
    select null::bigint as id
    where false
)

select * from final
