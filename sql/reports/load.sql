-- The machine's load during a run, averaged over at most 60 parts of it; disk counters grow, so their growth per second.
with samples as (
    select
        sampled_at,
        cpu_percent,
        memory_bytes,
        disk_free_bytes,
        extract(epoch from sampled_at - min(sampled_at) over ())::float8 as at_seconds,
        (
            (disk_read_bytes - lag(disk_read_bytes) over by_time + disk_write_bytes - lag(disk_write_bytes) over by_time)
            / nullif(extract(epoch from sampled_at - lag(sampled_at) over by_time), 0)
        )::float8 as disk_rate,
        ntile(60) over by_time as part
    from crm_migration.resource_samples
    where run_id = %(run)s
    window by_time as (order by sampled_at)
)

select
    max(at_seconds) as at_seconds,
    avg(cpu_percent)::float8 as cpu_percent,
    max(memory_bytes) as memory_bytes,
    avg(disk_rate)::float8 as disk_rate,
    min(disk_free_bytes) as disk_free_bytes
from samples
group by part
order by part
