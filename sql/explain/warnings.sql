-- What a run found in a record: findings, then the reasons for which a new table refused it, then the rule that leaves it out.
select distinct
    finding_rows.severity,
    finding_rows.code,
    coalesce(findings.message, '') as message
from crm_migration.finding_rows
left join crm_migration.findings
    on findings.run_id = finding_rows.run_id
    and findings.gate = finding_rows.gate
    and findings.code = finding_rows.code
    and findings.entity = finding_rows.entity
where finding_rows.run_id = any(%(runs)s)
    and finding_rows.entity = %(entity)s
    and finding_rows.row_key = %(finding_key)s

union all

select
    'excluded' as severity,
    excluded_rows.rule as code,
    '' as message
from crm_migration.excluded_rows
where excluded_rows.run_id = %(run)s
    and excluded_rows.entity = %(entity)s
    and excluded_rows.row_key = %(key)s
order by 1, 2
