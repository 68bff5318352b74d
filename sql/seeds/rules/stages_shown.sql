-- Stages that nobody's front end knows.
select
    'unknown_stage' as rule,
    file,
    line,
    'shown_as_legacy_stage' as named,
    cells ->> 'shown_as_legacy_stage' as value
from mapping_lines
where file = 'stage_way_back.csv'
    and not cells ->> 'shown_as_legacy_stage' = any({stages}::text[])
