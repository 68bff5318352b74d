-- A dry run reads while people work: a model that was built later may not know what an earlier one refers to.
delete from crm_build.opportunity_participants as child
where not exists (select from crm_build.opportunities as parent where parent.id = child.opportunity_id);

delete from crm_build.activities as child
where
    child.opportunity_id is not null
    and not exists (select from crm_build.opportunities as parent where parent.id = child.opportunity_id);
