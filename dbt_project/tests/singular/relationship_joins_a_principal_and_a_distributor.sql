select relationships.id
from {{ ref('principal_distributor_relationships') }} as relationships
left join {{ ref('company_classifications') }} as principals
    on relationships.principal_organization_id = principals.company_id
    and principals.is_principal
left join {{ ref('company_classifications') }} as distributors
    on relationships.distributor_organization_id = distributors.company_id
    and distributors.is_distributor
where principals.company_id is null
    or distributors.company_id is null
