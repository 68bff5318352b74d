-- Keys that are on one side only: of an archived table, or of what is live today.
select coalesce(legacy.id, live.key) as key
from {archived} as legacy
full join live on live.key = legacy.id
where legacy.id is null or live.key is null
