-- holds for: 9665b23caf5c9df7
select id as key from crm_build.int_unknown_to_legacy
