insert into auth.users (id, email)
select
    md5('user ' || person.id)::uuid,
    'user' || person.id || '@crm.example'
from pg_temp.demo_words as word
cross join generate_series(1, word.sales) as person (id)
on conflict (id) do nothing;

insert into pg_temp.demo_sales (id, first_name, last_name, email, administrator, user_id, avatar, disabled)
select
    person.id,
    pg_temp.pick(person.id, 'sales first name', word.first_names),
    pg_temp.pick(person.id, 'sales last name', word.last_names),
    'user' || person.id || '@crm.example',
    person.id = 1,
    md5('user ' || person.id)::uuid,
    jsonb_build_object('src', 'https://crm.example/avatars/' || person.id || '.png'),
    -- somebody has left
    person.id = word.sales
from pg_temp.demo_words as word
cross join generate_series(1, word.sales) as person (id);

insert into pg_temp.demo_tags (id, name, color)
select
    tag.id,
    tag.name,
    word.tag_colors[1 + (tag.id - 1) % cardinality(word.tag_colors)]
from pg_temp.demo_words as word
cross join unnest(word.tag_names) with ordinality as tag (name, id);
