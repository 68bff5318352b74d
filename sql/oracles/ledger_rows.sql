-- What the ledger says of each batch, and what is there.
select batches.batch_no, batches.rows_written, batches.rows_rejected,
    (
        select count(*) from {table} as live
        where live.{key} between batches.key_lo and batches.key_hi and live.{key}::text <> all({changed})
    ) + (
        select count(*) from unnest({replaced}::text[]) as replaced (key)
        where replaced.key::numeric between batches.key_lo and batches.key_hi
    ) as present,
    (
        select count(*) from crm_migration.rejected_records as rejected
        where rejected.run_id = batches.run_id and rejected.model = batches.model
            and rejected.batch_no = batches.batch_no
    ) as rejected
from crm_migration.batches
where batches.run_id = {run} and batches.model = {model}
order by batches.batch_no
