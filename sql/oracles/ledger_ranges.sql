-- What is wrong with the ranges of the batches; null where nothing is.
select model, batch_no, case
    when state <> 'done' then 'not done'
    when key_hi < key_lo then 'an empty range'
    when previous_no is not null and batch_no <> previous_no + 1 then 'a batch before it is missing'
    when previous_hi is not null and key_lo <= previous_hi then 'overlaps the one before it'
    when previous_hi is not null and key_lo > previous_hi + 1 then 'a gap before it'
    when previous_no is null and batch_no <> 1 then 'the batches before it are missing'
    when next_no is null and key_hi < 9223372036854775807 then 'the batches after it are missing'
end as problem
from (
    select *,
        lag(key_hi) over series as previous_hi,
        lag(batch_no) over series as previous_no,
        lead(batch_no) over series as next_no
    from crm_migration.batches
    where run_id = {run}
    window series as (partition by model order by batch_no)
) as batches
order by model, batch_no
