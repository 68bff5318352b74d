-- holds for: aa8c97e10dc94959
select id as key from crm_build.int_unknown_to_legacy
