-- A view has no NOT NULL; the old application is told the same as by the table.
create function crm_compat.refuse_null(relation text, column_name text) returns void
language plpgsql
set search_path = ''
as $$
begin
    raise exception 'null value in column "%" of relation "%" violates not-null constraint', column_name, relation
        using errcode = 'not_null_violation', column = column_name, table = relation, schema = 'public';
end
$$;
comment on function crm_compat.refuse_null(text, text) is 'Raises what the legacy table raised for a missing value.';

-- The number of the next row, taken before the row is written: whoever may insert but not read gets it as well.
create function crm_compat.next_number(relation regclass, column_name text) returns bigint
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- everybody may call it, for the triggers of the views run as whoever writes; by hand it would burn numbers
    if pg_catalog.pg_trigger_depth() = 0 then
        raise exception 'Only the triggers of the compatibility views ask for numbers.' using errcode = 'insufficient_privilege';
    end if;
    return nextval(pg_catalog.pg_get_serial_sequence(next_number.relation::text, next_number.column_name)::regclass);
end
$$;
comment on function crm_compat.next_number(regclass, text) is 'The next value of an identity column.';
