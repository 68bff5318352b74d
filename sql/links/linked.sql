-- Rows that refer to a record by a column: how many there are, and the first of them with something to know them by.
with

linked as (
    select
        to_jsonb(source) as record,
        count(*) over () as total
    from {table} as source
    where source.{column} = {id}
    limit {limit}
)

select
    linked.total,
    linked.record ->> 'id' as key,
    coalesce(
        linked.record ->> 'name',
        nullif(concat_ws(' ', linked.record ->> 'first_name', linked.record ->> 'last_name'), ''),
        linked.record ->> 'text',
        linked.record ->> 'subject',
        linked.record ->> 'description',
        ''
    ) as label,
    concat_ws(
        ', ',
        linked.record ->> 'role',
        linked.record ->> 'origin',
        case when linked.record ->> 'deleted_at' is not null then 'deleted' end
    ) as how
from linked
order by length(linked.record ->> 'id'), linked.record ->> 'id'
