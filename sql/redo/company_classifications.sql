-- holds for: 215c8f8379694e7a
select company_id as key from {int_companies__roles}
