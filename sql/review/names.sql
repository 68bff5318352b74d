-- What the contact and the opportunity are called that a record names.
select
    'contacts' as place,
    contacts.id::text as key,
    btrim(concat_ws(' ', contacts.first_name, contacts.last_name)) as name
from public.contacts
where contacts.id = {contact}

union all

select
    'opportunities' as place,
    opportunities.id::text as key,
    opportunities.name
from {opportunities} as opportunities
where opportunities.id = {opportunity}
