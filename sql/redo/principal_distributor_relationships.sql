-- holds for: 1e9ec7b2a9d3c166
select id as key from {int_organizations__relationships}
