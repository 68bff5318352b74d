-- The stage in the words of the new application and of the old one. Whichever is written, the other follows.

create function crm_compat.stage_of(legacy_stage text) returns public.opportunity_stage
language sql
stable
set search_path = ''
as $$
    select coalesce(
        (
            select min(stage_mapping.stage::text)
            from crm_compat.stage_mapping
            where lower(btrim(stage_mapping.legacy_stage)) = lower(btrim(stage_of.legacy_stage))
        ),
        (select stage_fallback.stage from crm_compat.stage_fallback)
    )::public.opportunity_stage
$$;
comment on function crm_compat.stage_of(text) is 'The stage that a legacy word means; the fallback for one that the mapping does not know.';

create function crm_compat.legacy_word_of(stage public.opportunity_stage) returns text
language sql
stable
set search_path = ''
as $$
    select min(stage_way_back.shown_as_legacy_stage)
    from crm_compat.stage_way_back
    where stage_way_back.stage::text = legacy_word_of.stage::text
$$;
comment on function crm_compat.legacy_word_of(public.opportunity_stage) is 'The word that the old application shows for a stage.';

create function crm_compat.probability_of(stage public.opportunity_stage) returns smallint
language sql
stable
set search_path = ''
as $$
    select coalesce(
        (select max(stage_mapping.probability)::smallint from crm_compat.stage_mapping where stage_mapping.stage::text = probability_of.stage::text),
        case probability_of.stage
            when 'lead' then 10
            when 'qualified' then 25
            when 'needs_analysis' then 40
            when 'proposal' then 60
            when 'negotiation' then 80
            when 'closed_won' then 100
            when 'closed_lost' then 0
            else 15
        end::smallint
    )
$$;
comment on function crm_compat.probability_of(public.opportunity_stage) is 'The probability of a stage: of the mapping, else the usual one.';

create function crm_compat.status_of(stage public.opportunity_stage) returns public.opportunity_status
language sql
stable
set search_path = ''
as $$
    select coalesce(
        (select min(stage_mapping.status::text) from crm_compat.stage_mapping where stage_mapping.stage::text = status_of.stage::text),
        case when status_of.stage = 'nurturing' then 'nurturing' else 'active' end
    )::public.opportunity_status
$$;
comment on function crm_compat.status_of(public.opportunity_stage) is 'The status of a stage: of the mapping, else active.';

create function crm_compat.keep_stage_in_step() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    word_changed boolean := tg_op = 'INSERT' or new.legacy_stage is distinct from old.legacy_stage;
    -- a new row that names its legacy word only has the default as stage
    stage_changed boolean := case tg_op when 'INSERT' then new.stage <> 'lead' else new.stage <> old.stage end;
begin
    if tg_op = 'UPDATE' and not word_changed and not stage_changed then
        return new;
    end if;
    if new.legacy_stage is null or (stage_changed and crm_compat.stage_of(new.legacy_stage) <> new.stage) then
        new.legacy_stage := crm_compat.legacy_word_of(new.stage);
    elsif word_changed and not stage_changed then
        new.stage := crm_compat.stage_of(new.legacy_stage);
    end if;
    if tg_op = 'UPDATE' and new.stage = old.stage then
        return new;
    end if;

    -- what the same statement says, or what was set by hand, is kept
    if not new.stage_manual and (case tg_op when 'INSERT' then new.probability = 10 else new.probability = old.probability end) then
        new.probability := crm_compat.probability_of(new.stage);
    end if;
    if not new.status_manual and (case tg_op when 'INSERT' then new.status = 'active' else new.status = old.status end) then
        new.status := crm_compat.status_of(new.stage);
    end if;
    if new.stage not in ('closed_won', 'closed_lost') then
        new.actual_close_date := null;
    elsif new.actual_close_date is null then
        new.actual_close_date := (now() at time zone 'UTC')::date;
    end if;
    return new;
end
$$;
comment on function crm_compat.keep_stage_in_step() is 'Trigger: stage and legacy_stage say the same; probability, status and closing date follow a new stage.';

create trigger crm_keep_stage_in_step before insert or update on public.opportunities
for each row execute function crm_compat.keep_stage_in_step();
