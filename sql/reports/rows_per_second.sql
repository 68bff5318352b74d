-- Rows that the batches of a run wrote, in at most 60 equal parts of the time in which they were written.
with finished as (
    select
        finished_at,
        rows_written,
        min(started_at) over () as first_at,
        greatest(extract(epoch from max(finished_at) over () - min(started_at) over ()), 0.001) as seconds
    from crm_migration.batches
    where run_id = %(run)s and state = 'done' and finished_at is not null and started_at is not null
),

sized as (
    select
        *,
        least(60, greatest(1, ceil(seconds)))::integer as parts
    from finished
)

select
    part,
    (part * seconds / parts)::float8 as at_seconds,
    (
        coalesce(sum(sized.rows_written) filter (
            where width_bucket(extract(epoch from sized.finished_at - sized.first_at), 0, seconds + 0.000001, parts) = part
        ), 0) / (seconds / parts)
    )::float8 as rate
from (select distinct seconds, parts from sized) as frame
cross join lateral generate_series(1, frame.parts) as part
inner join sized using (seconds, parts)
group by part, seconds, parts
order by part
