# What a user writes for edgekd with three boxes; systems.py gives the same flags, and those of the race.
edgekd split --data digits --gamma 15 --out shards
edgekd peer --id 0 --listen box-a:7000 --peers box-a:7000,box-b:7000,box-c:7000 --private folder:shards/client-0/private --public shards/public.safetensors
edgekd peer --id 1 --listen box-b:7000 --peers box-a:7000,box-b:7000,box-c:7000 --private folder:shards/client-1/private --public shards/public.safetensors
edgekd peer --id 2 --listen box-c:7000 --peers box-a:7000,box-b:7000,box-c:7000 --private folder:shards/client-2/private --public shards/public.safetensors
