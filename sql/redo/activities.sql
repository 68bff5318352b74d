-- holds for: 5ab41455e5416bbd
select id as key from {int_tasks__activities}
