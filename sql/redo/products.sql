-- holds for: 8aaf9f1162122287
select id as key from crm_build.int_unknown_to_legacy
