insert into pg_temp.demo_contact_notes (id, contact_id, text, date, sales_id, status, attachments)
select
    note.id,
    contact.id,
    pg_temp.pick(note.id, 'contact note text', word.notes),
    pg_temp.moment(note.id, 'contact note date', contact.first_seen, word.as_of),
    pg_temp.number(note.id, 'contact note sales', 1, word.sales),
    pg_temp.pick(note.id, 'contact note status', word.contact_statuses),
    case
        when pg_temp.draw(note.id, 'contact note file') < 0.03
            then array[
                jsonb_build_object(
                    'src', 'https://crm.example/storage/attachments/c' || note.id || '.pdf',
                    'title', 'price list.pdf',
                    'type', 'application/pdf'
                )
            ]
    end
from pg_temp.demo_words as word
cross join generate_series(1::bigint, word.contact_notes) as note (id)
inner join pg_temp.demo_contacts as contact
    on contact.id = pg_temp.number(note.id, 'contact note contact', 1, word.contacts);

insert into pg_temp.demo_deal_notes (id, deal_id, type, text, date, sales_id, attachments)
select
    note.id,
    deal.id,
    pg_temp.pick(note.id, 'deal note type', array['Email', 'Call', 'Meeting', null]),
    pg_temp.pick(note.id, 'deal note text', word.notes),
    pg_temp.moment(note.id, 'deal note date', deal.created_at, word.as_of),
    pg_temp.number(note.id, 'deal note sales', 1, word.sales),
    case
        when pg_temp.draw(note.id, 'deal note file') < 0.04
            then array[
                jsonb_build_object(
                    'src', 'https://crm.example/storage/attachments/d' || note.id || '.pdf',
                    'title', 'offer.pdf',
                    'type', 'application/pdf'
                )
            ]
    end
from pg_temp.demo_words as word
cross join generate_series(1::bigint, word.deal_notes) as note (id)
inner join pg_temp.demo_deals as deal on deal.id = pg_temp.number(note.id, 'deal note deal', 1, word.deals);
