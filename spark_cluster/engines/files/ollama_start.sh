ollama serve &
server=$!
trap 'kill $server' TERM INT
until ollama list >/dev/null 2>&1; do
  kill -0 $server || exit 1
  sleep 1
done
@MAKE@ || {
  echo "spark-cluster: the model could not be made (status $?)"
  kill $server
  exit 1
}
echo "spark-cluster: the model is there"
wait $server
