-- holds for: 6a745e6464c851de
-- With all of an opportunity that is made anew: its participants go with the row that is replaced.
select id as key from {int_deals__participants}
