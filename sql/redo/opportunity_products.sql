-- holds for: 63776e65b48746dc
select id as key from crm_build.int_unknown_to_legacy
