"""A `docker` for a host of namespaces: it runs, tells of and ends containers, each a folder below
$DOCKER_STANDIN.

    spec.json   what it was made with: name, id, labels, image, command, env, mounts
    pid         of its first process, in the numbers of the host
    started     when that was
    exit        its exit code, once it has ended
    log         what it printed; a line may begin with its time
    boot        why it could not be started, if it could not

`run` gives a container namespaces of its own for processes and mounts inside the host's network,
IPC and name; its root is the host's, its first process is the command itself, and its variables
are those of $DOCKER_IMAGE, a JSON file, and its own. Devices, capabilities and limits are taken
and not acted on. $DOCKER_MOUNTS are SOURCE:TARGET for every container, of sources that are there.
A container may also be made by others, who write the files.

It answers what the program asks with; everything else is an error.
"""
