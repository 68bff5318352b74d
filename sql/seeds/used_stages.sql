-- The stages that deals have or that the mapping knows, where the front end's are not configured in the database.
select deals.stage
from public.deals
where deals.stage is not null

union

select mapping_lines.cells ->> 'legacy_stage' as stage
from mapping_lines
where mapping_lines.file = 'stage_mapping.csv'
