-- Values that stand twice in a file, compared as the models compare them: trimmed and in lower case.
with

uniques (file, named) as (
    values
    ('stage_mapping.csv', 'legacy_stage'),
    ('stage_way_back.csv', 'stage'),
    ('activity_type_mapping.csv', 'task_type'),
    ('category_principals.csv', 'category')
),

counted as (
    select
        mapping_lines.file,
        mapping_lines.line,
        uniques.named,
        mapping_lines.cells ->> uniques.named as value,
        min(mapping_lines.line) over (
            partition by mapping_lines.file, lower(btrim(mapping_lines.cells ->> uniques.named))
        ) as other
    from mapping_lines
    inner join uniques
        on mapping_lines.file = uniques.file
)

select
    'twice' as rule,
    file,
    line,
    named,
    value,
    other
from counted
where line > other
