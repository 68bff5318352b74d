-- The stages that the front end is configured with, if they are configured in the database at all.
select stage.entry ->> 'value' as legacy_stage
from public.configuration
cross join lateral jsonb_array_elements(
    case
        when jsonb_typeof(configuration.config::jsonb -> 'dealStages') = 'array'
            then configuration.config::jsonb -> 'dealStages'
        else '[]'::jsonb
    end
) as stage (entry)
where stage.entry ->> 'value' is not null
