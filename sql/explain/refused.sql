-- The reasons for which the new tables refused what was made of a record.
select
    'rejected' as severity,
    model as code,
    sqlstate || ': ' || message as message
from crm_migration.rejected_records
where run_id = %(run)s
    and (
        (model = %(model)s and key_value::text = %(key)s)
        or source_row ->> %(source_key)s = %(key)s
    )
order by 2, 3
