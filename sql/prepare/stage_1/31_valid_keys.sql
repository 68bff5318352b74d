-- The rows that are there are checked by themselves: that takes no lock that another check would wait for.
alter table crm_build.opportunity_participants validate constraint opportunity_participants_opportunity_id_fkey;
alter table crm_build.opportunity_products validate constraint opportunity_products_opportunity_id_fkey;
alter table crm_build.activities validate constraint activities_opportunity_id_fkey;
alter table crm_build.interaction_participants validate constraint interaction_participants_activity_id_fkey;
