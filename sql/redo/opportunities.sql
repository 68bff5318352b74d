-- holds for: 964710069e342063
select id as key from {deals}
union all
select deal_id from {int_deals__organizations}
