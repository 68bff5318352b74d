-- Chance without state: the same seed, row and purpose give the same number on every server and in any order.
do $functions$
begin
    execute format(
        $template$
        create function pg_temp.draw(id bigint, purpose text) returns double precision
        language sql immutable as $body$
            select (hashint8extended(id, hashtextextended(purpose, %s)) & 4503599627370495)::double precision
                / 4503599627370496
        $body$
        $template$,
        (select seed from pg_temp.demo_parameters)
    );
end
$functions$;

create function pg_temp.pick(id bigint, purpose text, options text[]) returns text
language sql immutable as $$
    select options[1 + floor(pg_temp.draw(id, purpose) * cardinality(options))::integer]
$$;

create function pg_temp.number(id bigint, purpose text, low bigint, high bigint) returns bigint
language sql immutable as $$
    select low + floor(pg_temp.draw(id, purpose) * (high - low + 1))::bigint
$$;

create function pg_temp.moment(id bigint, purpose text, low timestamptz, high timestamptz) returns timestamptz
language sql immutable as $$
    select low + greatest(high - low, interval '0') * pg_temp.draw(id, purpose)
$$;

create function pg_temp.slug(name text) returns text
language sql immutable as $$
    select btrim(
        regexp_replace(
            translate(lower(name), 'äöüàâáéèêëîïíìóòôøåùûúçñğış', 'aouaaaeeeeiiiiooooauuucngis'),
            '[^a-z0-9]+',
            '-',
            'g'
        ),
        '-'
    )
$$;

create function pg_temp.texts(list jsonb) returns text[]
language sql immutable as $$
    select array(select jsonb_array_elements_text(list))
$$;

-- each value as often as its weight, in the words of the generation
create function pg_temp.weighted(list jsonb, word text) returns text[]
language sql immutable as $$
    select array(
        select entry.value ->> word
        from jsonb_array_elements(list) with ordinality as entry (value, position)
        cross join generate_series(1, (entry.value ->> 'weight')::integer) as copy (number)
        order by entry.position, copy.number
    )
$$;
