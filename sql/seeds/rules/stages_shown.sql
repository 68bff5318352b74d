-- Stages that nobody's front end knows.
select
    'unknown_stage' as rule,
    file,
    line,
    'shown_as_legacy_stage' as named,
    cells ->> 'shown_as_legacy_stage' as value
from mapping_lines
where file = 'stage_way_back.csv'
    and cells ->> 'shown_as_legacy_stage' != all(%(stages)s::text[])
