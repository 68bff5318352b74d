-- A task of the old application is an activity of the new one. An activity that was never a task stays without one.

create function crm_compat.activity_follows_task() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    kind public.activity_type;
    way public.interaction_type;
    company bigint;
    owner bigint;
begin
    -- written by the activity's own trigger, which has said all of this already
    if pg_catalog.current_setting('crm_compat.task_from_activity', true) = 'on' then
        return null;
    end if;
    select mapping.activity_type::text::public.activity_type, nullif(mapping.interaction_type::text, '')::public.interaction_type
    into kind, way
    from crm_compat.activity_type_mapping as mapping
    where lower(btrim(mapping.task_type)) = lower(btrim(new.type))
    limit 1;
    select contacts.company_id into company from public.contacts where contacts.id = new.contact_id;
    -- the older generation has no foreign key here
    select sales.id into owner from public.sales where sales.id = new.sales_id;

    if tg_op = 'UPDATE' then
        update public.activities
        set
            interaction_type = case when new.type is distinct from old.type then way else activities.interaction_type end,
            contact_id = new.contact_id,
            organization_id = case
                when new.contact_id is distinct from old.contact_id then company else activities.organization_id
            end,
            sales_id = case when new.sales_id is distinct from old.sales_id then owner else activities.sales_id end,
            description = new.text,
            activity_date = new.done_date,
            follow_up_required = new.done_date is null,
            follow_up_date = case when new.done_date is null then new.due_date end
        where activities.legacy_task_id = new.id
            and (
                new.type is distinct from old.type
                or new.contact_id is distinct from old.contact_id
                or new.sales_id is distinct from old.sales_id
                or new.text is distinct from old.text
                or new.due_date is distinct from old.due_date
                or new.done_date is distinct from old.done_date
            );
    else
        insert into public.activities (
            legacy_task_id, contact_id, organization_id, sales_id, activity_type, interaction_type, description,
            follow_up_required, activity_date, follow_up_date
        )
        values (
            new.id, new.contact_id, company, owner, 'engagement', way, new.text,
            new.done_date is null, new.done_date, case when new.done_date is null then new.due_date end
        );
    end if;
    return null;
end
$$;
comment on function crm_compat.activity_follows_task() is 'Trigger: an activity for each task. Deleting the task deletes it by its foreign key.';

create function crm_compat.let_go_of_task() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    -- a soft-deleted activity stays when its task goes
    new.legacy_task_id := null;
    return new;
end
$$;
comment on function crm_compat.let_go_of_task() is 'Trigger: an activity that is soft-deleted is no longer tied to its task.';

create function crm_compat.task_follows_activity() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    reassigned boolean;
begin
    if tg_op = 'UPDATE' and new.legacy_task_id is not null then
        -- not when the user was deleted: whether a task allows that is for its own foreign key to say
        reassigned := new.sales_id is distinct from old.sales_id
            and (new.sales_id is not null or exists (select from public.sales where sales.id = old.sales_id));
        perform pg_catalog.set_config('crm_compat.task_from_activity', 'on', true);
        update public.tasks
        set
            text = new.description,
            contact_id = coalesce(new.contact_id, tasks.contact_id),
            sales_id = case when reassigned then new.sales_id else tasks.sales_id end,
            done_date = case when not new.follow_up_required then coalesce(new.activity_date, tasks.done_date, now()) end,
            due_date = case when new.follow_up_required then new.follow_up_date else tasks.due_date end
        where tasks.id = new.legacy_task_id
            and (
                tasks.text is distinct from new.description
                or tasks.contact_id is distinct from coalesce(new.contact_id, tasks.contact_id)
                or reassigned
                or tasks.done_date is distinct from case
                    when not new.follow_up_required then coalesce(new.activity_date, tasks.done_date, now())
                end
                or (new.follow_up_required and tasks.due_date is distinct from new.follow_up_date)
            );
        perform pg_catalog.set_config('crm_compat.task_from_activity', '', true);
        return null;
    end if;
    -- deleted together with its contact or company: what becomes of the task is for the task's own foreign key to say
    if old.legacy_task_id is not null
        and (tg_op = 'DELETE' or new.deleted_at is not null)
        and (old.contact_id is null or exists (select from public.contacts where contacts.id = old.contact_id))
        and (old.organization_id is null or exists (select from public.companies where companies.id = old.organization_id))
    then
        delete from public.tasks where tasks.id = old.legacy_task_id;
    end if;
    return null;
end
$$;
comment on function crm_compat.task_follows_activity() is 'Trigger: changes of an activity that is a task reach the task; deleting or soft-deleting it deletes the task.';

create trigger crm_activity_follows after insert or update on public.tasks
for each row execute function crm_compat.activity_follows_task();

create trigger crm_let_go_of_task before update of deleted_at on public.activities
for each row when (old.deleted_at is null and new.deleted_at is not null and old.legacy_task_id is not null)
execute function crm_compat.let_go_of_task();
create trigger crm_task_follows after delete or update on public.activities
for each row execute function crm_compat.task_follows_activity();
