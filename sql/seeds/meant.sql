-- Whom the references mean: company where it is one.
update mapping_references
set
    companies = found.company_ids,
    company = case when cardinality(found.company_ids) = 1 then found.company_ids[1] end
from (
    {named_companies}
) as found
where mapping_references.position = found.position
