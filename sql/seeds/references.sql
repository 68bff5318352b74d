-- What the lines say to name companies.
create temporary table mapping_references on commit drop as
select
    mapping_lines.file,
    mapping_lines.line,
    entry.place,
    entry.asked ->> 'column' as named,
    entry.asked ->> 'kind' as kind,
    entry.asked ->> 'id_column' as id_column,
    mapping_lines.cells ->> (entry.asked ->> 'column') as value,
    row_number() over () as position,
    null::bigint as company,
    array[]::bigint[] as companies
from mapping_lines
cross join lateral jsonb_array_elements(mapping_lines.asked) with ordinality as entry (asked, place)
where entry.asked != 'null'::jsonb
