-- References that name no company, or several.
select
    case when cardinality(companies) = 0 then 'unknown_company' else 'ambiguous_company' end as rule,
    file,
    line,
    named,
    value,
    kind,
    id_column,
    cardinality(companies) as matches,
    array_to_string(companies[:5], ', ')
    || case when cardinality(companies) > 5 then ' and ' || cardinality(companies) - 5 || ' more' else '' end as ids
from mapping_references
where company is null
