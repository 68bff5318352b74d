create function public.is_admin() returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    select exists (select 1 from public.sales where sales.user_id = auth.uid() and sales.administrator)
$$;

create function public.set_sales_id_default() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if new.sales_id is null then
        select sales.id into new.sales_id from public.sales where sales.user_id = auth.uid();
    end if;
    return new;
end
$$;

create function public.handle_company_saved() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    perform auth.call_out(tg_name);
    return new;
end
$$;

create function public.handle_contact_saved() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    perform auth.call_out(tg_name);
    return new;
end
$$;

create function public.lowercase_email_jsonb() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if jsonb_typeof(new.email_jsonb) = 'array' then
        new.email_jsonb := (
            select coalesce(jsonb_agg(
                case
                    when jsonb_typeof(entry.value -> 'email') = 'string'
                        then jsonb_set(entry.value, '{email}', to_jsonb(lower(entry.value ->> 'email')))
                    else entry.value
                end
                order by entry.position
            ), '[]'::jsonb)
            from jsonb_array_elements(new.email_jsonb) with ordinality as entry (value, position)
        );
    end if;
    return new;
end
$$;

create function public.cleanup_note_attachments() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    perform auth.call_out(tg_name);
    return null;
end
$$;

create trigger set_company_sales_id_trigger before insert on public.companies
for each row execute function public.set_sales_id_default();
create trigger set_contact_sales_id_trigger before insert on public.contacts
for each row execute function public.set_sales_id_default();
create trigger set_contact_notes_sales_id_trigger before insert on public.contact_notes
for each row execute function public.set_sales_id_default();
create trigger set_deal_sales_id_trigger before insert on public.deals
for each row execute function public.set_sales_id_default();
create trigger set_deal_notes_sales_id_trigger before insert on public.deal_notes
for each row execute function public.set_sales_id_default();
create trigger set_task_sales_id_trigger before insert on public.tasks
for each row execute function public.set_sales_id_default();

create trigger company_saved before insert or update on public.companies
for each row execute function public.handle_company_saved();

-- the numbers set the order: first lower case, then the avatar
create trigger "10_lowercase_contact_emails" before insert or update on public.contacts
for each row execute function public.lowercase_email_jsonb();
create trigger "20_contact_saved" before insert or update on public.contacts
for each row execute function public.handle_contact_saved();

create trigger on_contact_notes_attachments_updated_delete_note_attachments after update on public.contact_notes
for each row when (old.attachments is distinct from new.attachments)
execute function public.cleanup_note_attachments();
create trigger on_contact_notes_deleted_delete_note_attachments after delete on public.contact_notes
for each row execute function public.cleanup_note_attachments();
create trigger on_deal_notes_attachments_updated_delete_note_attachments after update on public.deal_notes
for each row when (old.attachments is distinct from new.attachments)
execute function public.cleanup_note_attachments();
create trigger on_deal_notes_deleted_delete_note_attachments after delete on public.deal_notes
for each row execute function public.cleanup_note_attachments();
