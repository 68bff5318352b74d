-- holds for: de8525c864b017fb
-- With all of an opportunity that is made anew: its participants go with the row that is replaced.
select id as key from {int_deals__participants}
