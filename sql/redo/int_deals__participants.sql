-- holds for: ab9a9fc454405acc
-- by: deal_id
-- numbers: id
-- names: deal_id, role
select id as key from {deals}
union all
select deal_id from {int_deals__organizations}
